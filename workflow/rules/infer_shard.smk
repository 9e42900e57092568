rule infer_shard:
    input:
        volume="<results>/{sample}/volume.ome.zarr",
        features="<results>/{sample}/features.zarr",
        context=context_store,
        view_features=view_stores("features.zarr"),
        view_contexts=view_stores("context.zarr"),
        model=model_files,
    output:
        shard=intermediate("<results>/{sample}/shards/{shard}.zarr"),
    log:
        "<logs>/{sample}/infer_shard_{shard}.log",
    benchmark:
        "<benchmarks>/{sample}/infer_shard_{shard}.tsv"
    conda:
        "../../envs/parafovea.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=memory("infer_shard"),
        runtime=minutes("infer_shard"),
    params:
        model=setting("task.model"),
        settings=inference,
        overrides=setting("task.overrides"),
        code=fingerprint("infer_shard"),
    message:
        "{wildcards.sample}: inference, shard {wildcards.shard} of {params.settings[shards]}"
    script:
        "../../scripts/infer_shard.py"
