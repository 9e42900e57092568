rule number_objects:
    input:
        unpack(inputs("number_objects")),
    output:
        **outputs("number_objects"),
    log:
        "<logs>/{sample}/number_objects.log",
    benchmark:
        "<benchmarks>/{sample}/number_objects.tsv"
    wildcard_constraints:
        sample=samples_of("number_objects"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("number_objects"),
    params:
        arguments=arguments("number_objects"),
    message:
        "{wildcards.sample}: numbering the objects of all blocks"
    script:
        "../../scripts/number_objects.py"
