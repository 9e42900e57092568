rule number_block:
    input:
        unpack(inputs("number_block")),
    output:
        **outputs("number_block"),
    log:
        "<logs>/{sample}/number_block_{block}.log",
    benchmark:
        "<benchmarks>/{sample}/number_block_{block}.tsv"
    wildcard_constraints:
        sample=samples_of("number_block"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("number_block"),
    params:
        arguments=arguments("number_block"),
    message:
        "{wildcards.sample}: writing object ids, block {wildcards.block} of {params.arguments[blocks]}"
    script:
        "../../scripts/number_block.py"
