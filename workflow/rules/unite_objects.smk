rule unite_objects:
    input:
        unpack(inputs("unite_objects")),
    output:
        **outputs("unite_objects"),
    log:
        "<logs>/{sample}/unite_objects.log",
    benchmark:
        "<benchmarks>/{sample}/unite_objects.tsv"
    wildcard_constraints:
        sample=samples_of("unite_objects"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("unite_objects"),
    params:
        arguments=arguments("unite_objects"),
    message:
        "{wildcards.sample}: uniting the objects of all blocks"
    script:
        "../../scripts/unite_objects.py"
