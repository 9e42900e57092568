use rule decide_small as decide_holes with:
    input:
        unpack(inputs("decide_holes")),
    output:
        **outputs("decide_holes"),
    log:
        "<logs>/{sample}/decide_holes.log",
    benchmark:
        "<benchmarks>/{sample}/decide_holes.tsv"
    wildcard_constraints:
        sample=samples_of("decide_holes"),
    resources:
        **resources("decide_holes"),
    params:
        arguments=arguments("decide_holes"),
    message:
        "{wildcards.sample}: finding holes of all blocks"
