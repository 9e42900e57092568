use rule remove_small_block as fill_holes_block with:
    input:
        unpack(inputs("fill_holes_block")),
    output:
        **outputs("fill_holes_block"),
    log:
        "<logs>/{sample}/fill_holes_block_{block}.log",
    benchmark:
        "<benchmarks>/{sample}/fill_holes_block_{block}.tsv"
    wildcard_constraints:
        sample=samples_of("fill_holes_block"),
    resources:
        **resources("fill_holes_block"),
    params:
        arguments=arguments("fill_holes_block"),
    message:
        "{wildcards.sample}: filling holes, block {wildcards.block} of {params.arguments[blocks]}"
