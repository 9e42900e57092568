rule join_objects:
    input:
        unpack(inputs("join_objects")),
    output:
        **outputs("join_objects"),
    log:
        "<logs>/{sample}/join_objects.log",
    benchmark:
        "<benchmarks>/{sample}/join_objects.tsv"
    wildcard_constraints:
        sample=samples_of("join_objects"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("join_objects"),
    params:
        arguments=arguments("join_objects"),
    message:
        "{wildcards.sample}: joining the blocks of classes and objects"
    script:
        "../../scripts/join_objects.py"
