rule blend_shards:
    input:
        shards=shard_stores,
    output:
        prediction=directory("<results>/{sample}/prediction.ome.zarr"),
    log:
        "<logs>/{sample}/blend_shards.log",
    benchmark:
        "<benchmarks>/{sample}/blend_shards.tsv"
    conda:
        "../../envs/parafovea.yaml"
    resources:
        mem_mb=memory("blend_shards"),
        runtime=minutes("blend_shards"),
    params:
        output_scale=setting("output_scale"),
        code=fingerprint("blend_shards"),
    message:
        "{wildcards.sample}: blending {input.shards}"
    script:
        "../../scripts/blend_shards.py"
