rule report_failures:
    input:
        unpack(inputs("report_failures")),
    output:
        **outputs("report_failures"),
    log:
        "<logs>/report_failures.log",
    benchmark:
        "<benchmarks>/report_failures.tsv"
    retries: 0
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("report_failures"),
    params:
        arguments=arguments("report_failures"),
    message:
        "Reporting the samples that could not be run"
    script:
        "../../scripts/report_failures.py"
