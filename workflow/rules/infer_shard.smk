rule infer_shard:
    input:
        unpack(inputs("infer_shard")),
    output:
        **outputs("infer_shard"),
    log:
        "<logs>/{sample}/infer_shard_{shard}.log",
    benchmark:
        "<benchmarks>/{sample}/infer_shard_{shard}.tsv"
    conda:
        "../../envs/parafovea.yaml"
    threads: 8
    resources:
        **resources("infer_shard"),
    params:
        arguments=arguments("infer_shard"),
    message:
        "{wildcards.sample}: inference, shard {wildcards.shard} of {params.arguments[settings][shards]}"
    script:
        "../../scripts/infer_shard.py"
