use rule extract_features as extract_context with:
    input:
        unpack(inputs("extract_context")),
    output:
        **outputs("extract_context"),
    log:
        "<logs>/{sample}/extract_context.log",
    wildcard_constraints:
        sample=samples_of("extract_context"),
    cache: CACHED
    resources:
        **resources("extract_context"),
    params:
        arguments=arguments("extract_context"),
    message:
        "{wildcards.sample}: extracting context features"
