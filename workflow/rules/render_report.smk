rule render_report:
    input:
        unpack(inputs("render_report")),
    output:
        **outputs("render_report"),
    log:
        "<logs>/{sample}/render_report.log",
    benchmark:
        "<benchmarks>/{sample}/render_report.tsv"
    wildcard_constraints:
        sample=samples_of("render_report"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("render_report"),
    params:
        arguments=arguments("render_report"),
    message:
        "{wildcards.sample}: rendering the report"
    script:
        "../../scripts/render_report.py"
