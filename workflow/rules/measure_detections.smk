rule measure_detections:
    input:
        unpack(inputs("measure_detections")),
    output:
        **outputs("measure_detections"),
    log:
        "<logs>/{sample}/measure_detections.log",
    benchmark:
        "<benchmarks>/{sample}/measure_detections.tsv"
    wildcard_constraints:
        sample=samples_of("measure_detections"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("measure_detections"),
    params:
        arguments=arguments("measure_detections"),
    message:
        "{wildcards.sample}: measuring detections"
    script:
        "../../scripts/measure_detections.py"
