rule remove_small_block:
    input:
        unpack(inputs("remove_small_block")),
    output:
        **outputs("remove_small_block"),
    log:
        "<logs>/{sample}/remove_small_block_{block}.log",
    benchmark:
        "<benchmarks>/{sample}/remove_small_block_{block}.tsv"
    wildcard_constraints:
        sample=samples_of("remove_small_block"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("remove_small_block"),
    params:
        arguments=arguments("remove_small_block"),
    message:
        "{wildcards.sample}: removing small components, block {wildcards.block} of {params.arguments[blocks]}"
    script:
        "../../scripts/clean_block.py"
