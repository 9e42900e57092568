rule split_block:
    input:
        unpack(inputs("split_block")),
    output:
        **outputs("split_block"),
    log:
        "<logs>/{sample}/split_block_{block}.log",
    benchmark:
        "<benchmarks>/{sample}/split_block_{block}.tsv"
    wildcard_constraints:
        sample=samples_of("split_block"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("split_block"),
    params:
        arguments=arguments("split_block"),
    message:
        "{wildcards.sample}: splitting objects, block {wildcards.block} of {params.arguments[blocks]}"
    script:
        "../../scripts/split_block.py"
