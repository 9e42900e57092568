# No benchmark: Snakemake refuses one beside `cache`. The log ends with the time and the memory.
rule extract_features:
    input:
        volume="<results>/{sample}/volume.ome.zarr",
        backbone=backbone_files("local"),
    output:
        features=intermediate("<results>/{sample}/features.zarr"),
    log:
        "<logs>/{sample}/extract_features.log",
    cache: CACHED
    conda:
        "../../envs/parafovea.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=memory("extract_features"),
        runtime=minutes("extract_features"),
    params:
        spacing=setting("recipe.spacing"),
        backbone=setting("recipe.backbone"),
        dimensions=setting("recipe.network.dimensions"),
        concentric_window=None,
        augmentation=augmentation,
        code=fingerprint("extract_features"),
    message:
        "{wildcards.sample}: extracting local features"
    script:
        "../../scripts/extract_features.py"
