rule merge_scan:
    input:
        unpack(inputs("merge_scan")),
    output:
        **outputs("merge_scan"),
    log:
        "<logs>/{sample}/merge_scan_{scan}.log",
    benchmark:
        "<benchmarks>/{sample}/merge_scan_{scan}.tsv"
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("merge_scan"),
    params:
        arguments=arguments("merge_scan"),
    message:
        "{wildcards.sample}: adding the counts of pass {wildcards.scan}"
    script:
        "../../scripts/merge_scan.py"
