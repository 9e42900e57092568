rule decide_small:
    input:
        unpack(inputs("decide_small")),
    output:
        **outputs("decide_small"),
    log:
        "<logs>/{sample}/decide_small.log",
    benchmark:
        "<benchmarks>/{sample}/decide_small.tsv"
    wildcard_constraints:
        sample=samples_of("decide_small"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("decide_small"),
    params:
        arguments=arguments("decide_small"),
    message:
        "{wildcards.sample}: finding small components of all blocks"
    script:
        "../../scripts/decide_components.py"
