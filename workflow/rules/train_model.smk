rule train_model:
    input:
        volumes=training("volumes"),
        features=training("features"),
        contexts=training("contexts"),
        truths=training("truths"),
    output:
        model=directory("{model}"),
    log:
        "<logs>/training/{model}.log",
    benchmark:
        "<benchmarks>/training/{model}.tsv"
    conda:
        "../../envs/parafovea.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=memory("train_model"),
        runtime=minutes("train_model"),
    params:
        name=training("name"),
        samples=training("samples"),
        settings=training("settings"),
        checkpoints=training("checkpoints"),
        code=fingerprint("train_model"),
    message:
        "Training {wildcards.model}"
    script:
        "../../scripts/train_model.py"
