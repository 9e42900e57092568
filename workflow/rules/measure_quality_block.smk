rule measure_quality_block:
    input:
        unpack(inputs("measure_quality_block")),
    output:
        **outputs("measure_quality_block"),
    log:
        "<logs>/{sample}/measure_quality_block_{block}.log",
    benchmark:
        "<benchmarks>/{sample}/measure_quality_block_{block}.tsv"
    wildcard_constraints:
        sample=samples_of("measure_quality_block"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("measure_quality_block"),
    params:
        arguments=arguments("measure_quality_block"),
    message:
        "{wildcards.sample}: counting for its quality, block {wildcards.block} of {params.arguments[blocks]}"
    script:
        "../../scripts/measure_quality_block.py"
