rule scan_block:
    input:
        unpack(inputs("scan_block")),
    output:
        **outputs("scan_block"),
    log:
        "<logs>/{sample}/scan_{scan}_block_{block}.log",
    benchmark:
        "<benchmarks>/{sample}/scan_{scan}_block_{block}.tsv"
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("scan_block"),
    params:
        arguments=arguments("scan_block"),
    message:
        "{wildcards.sample}: counting values, pass {wildcards.scan}, block {wildcards.block} of {params.arguments[blocks]}"
    script:
        "../../scripts/scan_block.py"
