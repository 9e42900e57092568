rule measure_quality:
    input:
        unpack(inputs("measure_quality")),
    output:
        **outputs("measure_quality"),
    log:
        "<logs>/{sample}/measure_quality.log",
    benchmark:
        "<benchmarks>/{sample}/measure_quality.tsv"
    wildcard_constraints:
        sample=samples_of("measure_quality"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("measure_quality"),
    params:
        arguments=arguments("measure_quality"),
    message:
        "{wildcards.sample}: measuring quality"
    script:
        "../../scripts/measure_quality.py"
