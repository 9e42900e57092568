rule render_detections:
    input:
        unpack(inputs("render_detections")),
    output:
        **outputs("render_detections"),
    log:
        "<logs>/{sample}/render_detections.log",
    benchmark:
        "<benchmarks>/{sample}/render_detections.tsv"
    wildcard_constraints:
        sample=samples_of("render_detections"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("render_detections"),
    params:
        arguments=arguments("render_detections"),
    message:
        "{wildcards.sample}: drawing detections"
    script:
        "../../scripts/render_detections.py"
