rule classify_block:
    input:
        unpack(inputs("classify_block")),
    output:
        **outputs("classify_block"),
    log:
        "<logs>/{sample}/classify_block_{block}.log",
    benchmark:
        "<benchmarks>/{sample}/classify_block_{block}.tsv"
    wildcard_constraints:
        sample=samples_of("classify_block"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("classify_block"),
    params:
        arguments=arguments("classify_block"),
    message:
        "{wildcards.sample}: classifying voxels by {params.arguments[method]}, block {wildcards.block} of {params.arguments[blocks]}"
    script:
        "../../scripts/classify_block.py"
