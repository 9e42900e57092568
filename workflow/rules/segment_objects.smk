rule segment_objects:
    input:
        unpack(inputs("segment_objects")),
    output:
        **outputs("segment_objects"),
    log:
        "<logs>/{sample}/segment_objects.log",
    benchmark:
        "<benchmarks>/{sample}/segment_objects.tsv"
    wildcard_constraints:
        sample=samples_of("segment_objects"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("segment_objects"),
    params:
        arguments=arguments("segment_objects"),
    message:
        "{wildcards.sample}: segmenting objects by {params.arguments[method]}"
    script:
        "../../scripts/segment_objects.py"
