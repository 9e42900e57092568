rule measure_tiles:
    input:
        unpack(inputs("measure_tiles")),
    output:
        **outputs("measure_tiles"),
    log:
        "<logs>/{sample}/measure_tiles.log",
    benchmark:
        "<benchmarks>/{sample}/measure_tiles.tsv"
    wildcard_constraints:
        sample=samples_of("measure_tiles"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("measure_tiles"),
    params:
        arguments=arguments("measure_tiles"),
    message:
        "{wildcards.sample}: measuring tiles"
    script:
        "../../scripts/measure_tiles.py"
