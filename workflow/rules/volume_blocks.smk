# Blocks of a volume: the stages of a whole volume, one job a block.


use rule resample_volume as resample_volume_block with:
    input:
        unpack(inputs("resample_volume_block")),
    output:
        **outputs("resample_volume_block"),
    log:
        "<logs>/{sample}/resample_volume_block_{block}.log",
    benchmark:
        "<benchmarks>/{sample}/resample_volume_block_{block}.tsv"
    wildcard_constraints:
        sample=samples_of("resample_volume_block"),
    resources:
        **resources("resample_volume_block"),
    params:
        arguments=arguments("resample_volume_block"),
    message:
        "{wildcards.sample}: resampling and normalizing, block {wildcards.block} of {params.arguments[blocks]}"


use rule extract_features as extract_features_block with:
    input:
        unpack(inputs("extract_features_block")),
    output:
        **outputs("extract_features_block"),
    log:
        "<logs>/{sample}/extract_features_block_{block}.log",
    wildcard_constraints:
        sample=samples_of("extract_features_block"),
    cache: CACHED
    resources:
        **resources("extract_features_block"),
    params:
        arguments=arguments("extract_features_block"),
    message:
        "{wildcards.sample}: extracting local features, block {wildcards.block} of {params.arguments[blocks]}"


use rule extract_features_block as extract_context_block with:
    input:
        unpack(inputs("extract_context_block")),
    output:
        **outputs("extract_context_block"),
    log:
        "<logs>/{sample}/extract_context_block_{block}.log",
    wildcard_constraints:
        sample=samples_of("extract_context_block"),
    cache: CACHED
    resources:
        **resources("extract_context_block"),
    params:
        arguments=arguments("extract_context_block"),
    message:
        "{wildcards.sample}: extracting context features, block {wildcards.block} of {params.arguments[blocks]}"


use rule join_features as join_context with:
    input:
        unpack(inputs("join_context")),
    output:
        **outputs("join_context"),
    log:
        "<logs>/{sample}/join_context.log",
    benchmark:
        "<benchmarks>/{sample}/join_context.tsv"
    wildcard_constraints:
        sample=samples_of("join_context"),
    resources:
        **resources("join_context"),
    params:
        arguments=arguments("join_context"),
    message:
        "{wildcards.sample}: joining the blocks of the context features"


use rule extract_features_block as extract_view_features_block with:
    input:
        unpack(inputs("extract_view_features_block")),
    output:
        **outputs("extract_view_features_block"),
    log:
        "<logs>/{sample}/extract_features_{augmentation}_block_{block}.log",
    wildcard_constraints:
        sample=samples_of("extract_view_features_block"),
    cache: CACHED
    resources:
        **resources("extract_view_features_block"),
    params:
        arguments=arguments("extract_view_features_block"),
    message:
        "{wildcards.sample}: extracting local features of the view {wildcards.augmentation}, block {wildcards.block} of {params.arguments[blocks]}"


use rule join_features as join_view_features with:
    input:
        unpack(inputs("join_view_features")),
    output:
        **outputs("join_view_features"),
    log:
        "<logs>/{sample}/join_features_{augmentation}.log",
    benchmark:
        "<benchmarks>/{sample}/join_features_{augmentation}.tsv"
    wildcard_constraints:
        sample=samples_of("join_view_features"),
    resources:
        **resources("join_view_features"),
    params:
        arguments=arguments("join_view_features"),
    message:
        "{wildcards.sample}: joining the blocks of the view {wildcards.augmentation}"


use rule extract_features_block as extract_view_context_block with:
    input:
        unpack(inputs("extract_view_context_block")),
    output:
        **outputs("extract_view_context_block"),
    log:
        "<logs>/{sample}/extract_context_{augmentation}_block_{block}.log",
    wildcard_constraints:
        sample=samples_of("extract_view_context_block"),
    cache: CACHED
    resources:
        **resources("extract_view_context_block"),
    params:
        arguments=arguments("extract_view_context_block"),
    message:
        "{wildcards.sample}: extracting context features of the view {wildcards.augmentation}, block {wildcards.block} of {params.arguments[blocks]}"


use rule join_features as join_view_context with:
    input:
        unpack(inputs("join_view_context")),
    output:
        **outputs("join_view_context"),
    log:
        "<logs>/{sample}/join_context_{augmentation}.log",
    benchmark:
        "<benchmarks>/{sample}/join_context_{augmentation}.tsv"
    wildcard_constraints:
        sample=samples_of("join_view_context"),
    resources:
        **resources("join_view_context"),
    params:
        arguments=arguments("join_view_context"),
    message:
        "{wildcards.sample}: joining the context blocks of the view {wildcards.augmentation}"


use rule blend_shards as blend_shards_block with:
    input:
        unpack(inputs("blend_shards_block")),
    output:
        **outputs("blend_shards_block"),
    log:
        "<logs>/{sample}/blend_shards_block_{block}.log",
    benchmark:
        "<benchmarks>/{sample}/blend_shards_block_{block}.tsv"
    wildcard_constraints:
        sample=samples_of("blend_shards_block"),
    # sums of shards that are blended can go
    priority: 10
    resources:
        **resources("blend_shards_block"),
    params:
        arguments=arguments("blend_shards_block"),
    message:
        "{wildcards.sample}: blending shards, block {wildcards.block} of {params.arguments[blocks]}"
