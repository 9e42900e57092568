rule resample_volume:
    input:
        source=setting("files.source"),
        metadata=setting("files.metadata"),
    output:
        volume=directory("<results>/{sample}/volume.ome.zarr"),
    log:
        "<logs>/{sample}/resample_volume.log",
    benchmark:
        "<benchmarks>/{sample}/resample_volume.tsv"
    conda:
        "../../envs/parafovea.yaml"
    resources:
        mem_mb=memory("resample_volume"),
        runtime=minutes("resample_volume"),
    params:
        source=setting("source"),
        metadata=setting("metadata"),
        spacing=setting("recipe.spacing"),
        unit=setting("recipe.unit"),
        normalization=setting("recipe.normalization"),
        nonfinite=setting("task.input.nonfinite"),
        kind=setting("recipe.kind"),
        code=fingerprint("resample_volume"),
    message:
        "{wildcards.sample}: resampling and normalizing {params.source}"
    script:
        "../../scripts/resample_volume.py"
