# Views of test-time augmentation: the same stage on the mirrored or rotated volume.


use rule extract_features as extract_view_features with:
    input:
        unpack(inputs("extract_view_features")),
    output:
        **outputs("extract_view_features"),
    log:
        "<logs>/{sample}/extract_features_{augmentation}.log",
    wildcard_constraints:
        sample=samples_of("extract_view_features"),
    cache: CACHED
    resources:
        **resources("extract_view_features"),
    params:
        arguments=arguments("extract_view_features"),
    message:
        "{wildcards.sample}: extracting local features of the view {wildcards.augmentation}"


use rule extract_features as extract_view_context with:
    input:
        unpack(inputs("extract_view_context")),
    output:
        **outputs("extract_view_context"),
    log:
        "<logs>/{sample}/extract_context_{augmentation}.log",
    wildcard_constraints:
        sample=samples_of("extract_view_context"),
    cache: CACHED
    resources:
        **resources("extract_view_context"),
    params:
        arguments=arguments("extract_view_context"),
    message:
        "{wildcards.sample}: extracting context features of the view {wildcards.augmentation}"
