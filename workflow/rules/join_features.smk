rule join_features:
    input:
        unpack(inputs("join_features")),
    output:
        **outputs("join_features"),
    log:
        "<logs>/{sample}/join_features.log",
    benchmark:
        "<benchmarks>/{sample}/join_features.tsv"
    wildcard_constraints:
        sample=samples_of("join_features"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("join_features"),
    params:
        arguments=arguments("join_features"),
    message:
        "{wildcards.sample}: joining the blocks of the local features"
    script:
        "../../scripts/join_features.py"
