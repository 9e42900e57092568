# Views of test-time augmentation: the same stage, which sees the volume mirrored or turned.


use rule extract_features as extract_view_features with:
    output:
        features=intermediate("<results>/{sample}/views/{augmentation}/features.zarr"),
    log:
        "<logs>/{sample}/extract_features_{augmentation}.log",
    cache: CACHED
    message:
        "{wildcards.sample}: extracting local features of the view {wildcards.augmentation}"


use rule extract_context as extract_view_context with:
    output:
        features=intermediate("<results>/{sample}/views/{augmentation}/context.zarr"),
    log:
        "<logs>/{sample}/extract_context_{augmentation}.log",
    cache: CACHED
    message:
        "{wildcards.sample}: extracting context features of the view {wildcards.augmentation}"
