rule train_model:
    input:
        unpack(inputs("train_model")),
    output:
        **outputs("train_model"),
    log:
        "<logs>/training/{model}.log",
    benchmark:
        "<benchmarks>/training/{model}.tsv"
    conda:
        "../../envs/parafovea.yaml"
    threads: 8
    resources:
        **resources("train_model"),
    params:
        arguments=arguments("train_model"),
    message:
        "Training {wildcards.model}"
    script:
        "../../scripts/train_model.py"
