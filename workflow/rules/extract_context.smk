use rule extract_features as extract_context with:
    input:
        volume="<results>/{sample}/volume.ome.zarr",
        backbone=backbone_files("context"),
    output:
        features=intermediate("<results>/{sample}/context.zarr"),
    log:
        "<logs>/{sample}/extract_context.log",
    cache: CACHED
    params:
        spacing=setting("recipe.context.spacing"),
        backbone=setting("recipe.context.backbone"),
        dimensions=setting("recipe.network.dimensions"),
        concentric_window=concentric_window,
        augmentation=augmentation,
        code=fingerprint("extract_features"),
    message:
        "{wildcards.sample}: extracting context features"
