rule predict_tiles:
    input:
        unpack(inputs("predict_tiles")),
    # Finished tiles stay where they are, in <results>/{sample}/tiles, and are skipped: a folder
    # that is an output would be emptied first.
    output:
        **outputs("predict_tiles"),
    log:
        "<logs>/{sample}/predict_tiles_{shard}.log",
    benchmark:
        "<benchmarks>/{sample}/predict_tiles_{shard}.tsv"
    wildcard_constraints:
        sample=samples_of("predict_tiles"),
    conda:
        "../../envs/parafovea.yaml"
    threads: 8
    resources:
        **resources("predict_tiles"),
    params:
        arguments=arguments("predict_tiles"),
    message:
        "{wildcards.sample}: predicting the tiles of {params.arguments[source]}, share {wildcards.shard}"
    script:
        "../../scripts/predict_tiles.py"
