rule join_prediction:
    input:
        unpack(inputs("join_prediction")),
    output:
        **outputs("join_prediction"),
    log:
        "<logs>/{sample}/join_prediction.log",
    benchmark:
        "<benchmarks>/{sample}/join_prediction.tsv"
    wildcard_constraints:
        sample=samples_of("join_prediction"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("join_prediction"),
    params:
        arguments=arguments("join_prediction"),
    message:
        "{wildcards.sample}: joining the blocks of the prediction"
    script:
        "../../scripts/join_prediction.py"
