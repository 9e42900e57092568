use rule extract_features as extract_context with:
    output:
        features=intermediate("<results>/{sample}/context.zarr"),
    log:
        "<logs>/{sample}/extract_context.log",
    benchmark:
        "<benchmarks>/{sample}/extract_context.tsv"
    params:
        spacing=setting("recipe.context.spacing"),
        backbone=setting("recipe.context.backbone"),
        dimensions=setting("recipe.network.dimensions"),
        concentric_window=concentric_window,
        code=fingerprint("stages.extract_features"),
    message:
        "{wildcards.sample}: extracting context features"
