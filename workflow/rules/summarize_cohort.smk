rule summarize_cohort:
    input:
        unpack(inputs("summarize_cohort")),
    output:
        **outputs("summarize_cohort"),
    log:
        "<logs>/summarize_cohort.log",
    benchmark:
        "<benchmarks>/summarize_cohort.tsv"
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("summarize_cohort"),
    params:
        arguments=arguments("summarize_cohort"),
    message:
        "Summarizing all samples"
    script:
        "../../scripts/summarize_cohort.py"
