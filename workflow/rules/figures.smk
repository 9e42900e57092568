# Figures for papers: those of the documentation, from the tables in the folder `measured`, those of
# the samples that have results, and that of the study, if the config names one.


rule draw_measured:
    input:
        unpack(inputs("draw_measured")),
    output:
        **outputs("draw_measured"),
    log:
        "<logs>/figures/{figure}.log",
    benchmark:
        "<benchmarks>/figures/{figure}.tsv"
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("draw_measured"),
    params:
        arguments=arguments("draw_measured"),
    message:
        "Drawing {wildcards.figure} from its table"
    script:
        "../../scripts/draw_measured.py"


rule draw_results:
    input:
        unpack(inputs("draw_results")),
    output:
        **outputs("draw_results"),
    log:
        "<logs>/figures/draw_results.log",
    benchmark:
        "<benchmarks>/figures/draw_results.tsv"
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("draw_results"),
    params:
        arguments=arguments("draw_results"),
    message:
        "Drawing the results of all samples with a truth"
    script:
        "../../scripts/draw_results.py"


rule figures:
    input:
        figures_wanted,
