# No benchmark, which Snakemake does not allow with `cache`. The log ends with time and memory.
rule extract_features:
    input:
        unpack(inputs("extract_features")),
    output:
        **outputs("extract_features"),
    log:
        "<logs>/{sample}/extract_features.log",
    wildcard_constraints:
        sample=samples_of("extract_features"),
    cache: CACHED
    conda:
        "../../envs/parafovea.yaml"
    threads: 8
    resources:
        **resources("extract_features"),
    params:
        arguments=arguments("extract_features"),
    message:
        "{wildcards.sample}: extracting local features"
    script:
        "../../scripts/extract_features.py"
