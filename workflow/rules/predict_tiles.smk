rule predict_tiles:
    input:
        source=tile_files("source"),
        metadata=setting("files.metadata"),
        model=model_files,
    # Finished tiles stay where they are, in <results>/{sample}/tiles, and are skipped: a folder
    # that is an output would be emptied first.
    output:
        ledger="<results>/{sample}/shards/{shard}.tsv",
    log:
        "<logs>/{sample}/predict_tiles_{shard}.log",
    benchmark:
        "<benchmarks>/{sample}/predict_tiles_{shard}.tsv"
    wildcard_constraints:
        sample=samples_of_type("tiles"),
    conda:
        "../../envs/parafovea.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=memory("predict_tiles"),
        runtime=minutes("predict_tiles"),
    params:
        source=setting("source"),
        metadata=setting("metadata"),
        content=tile_content("source"),
        model=setting("task.model"),
        settings=inference,
        overwrite=setting("task.tiles.overwrite"),
        code=fingerprint("predict_tiles"),
    message:
        "{wildcards.sample}: predicting the tiles of {params.source}, share {wildcards.shard}"
    script:
        "../../scripts/predict_tiles.py"
