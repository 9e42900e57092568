rule collect_tiles:
    input:
        unpack(inputs("collect_tiles")),
    output:
        **outputs("collect_tiles"),
    log:
        "<logs>/{sample}/collect_tiles.log",
    benchmark:
        "<benchmarks>/{sample}/collect_tiles.tsv"
    wildcard_constraints:
        sample=samples_of("collect_tiles"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("collect_tiles"),
    params:
        arguments=arguments("collect_tiles"),
    message:
        "{wildcards.sample}: collecting tiles"
    script:
        "../../scripts/collect_tiles.py"
