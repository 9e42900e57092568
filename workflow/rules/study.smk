# A study: models that differ in one respect, trained and scored alike.
# The target is `figures`; the file that `study` names defines the comparison.


use rule resample_volume as resample_study_volume with:
    input:
        unpack(inputs("resample_study_volume")),
    output:
        **outputs("resample_study_volume"),
    log:
        "<logs>/study/{member}/resample_volume.log",
    benchmark:
        "<benchmarks>/study/{member}/resample_volume.tsv"
    resources:
        **resources("resample_study_volume"),
    params:
        arguments=arguments("resample_study_volume"),
    message:
        "Study: resampling and normalizing {wildcards.member}"


use rule extract_features as extract_study_features with:
    input:
        unpack(inputs("extract_study_features")),
    output:
        **outputs("extract_study_features"),
    log:
        "<logs>/study/{member}/extract_features_{view}.log",
    cache: CACHED
    resources:
        **resources("extract_study_features"),
    params:
        arguments=arguments("extract_study_features"),
    message:
        "Study: extracting features {wildcards.view} of {wildcards.member}"


use rule extract_features as extract_study_context with:
    input:
        unpack(inputs("extract_study_context")),
    output:
        **outputs("extract_study_context"),
    log:
        "<logs>/study/{member}/extract_context_{view}.log",
    cache: CACHED
    resources:
        **resources("extract_study_context"),
    params:
        arguments=arguments("extract_study_context"),
    message:
        "Study: extracting context features {wildcards.view} of {wildcards.member}"


use rule train_model as train_study_model with:
    input:
        unpack(inputs("train_study_model")),
    output:
        **outputs("train_study_model"),
    log:
        "<logs>/study/train_{variant}_seed{seed}.log",
    benchmark:
        "<benchmarks>/study/train_{variant}_seed{seed}.tsv"
    resources:
        **resources("train_study_model"),
    params:
        arguments=arguments("train_study_model"),
    message:
        "Study: training {wildcards.variant}, seed {wildcards.seed}"


rule score_model:
    input:
        unpack(inputs("score_model")),
    output:
        **outputs("score_model"),
    log:
        "<logs>/study/score_{variant}_seed{seed}.log",
    benchmark:
        "<benchmarks>/study/score_{variant}_seed{seed}.tsv"
    conda:
        "../../envs/parafovea.yaml"
    threads: 8
    resources:
        **resources("score_model"),
    params:
        arguments=arguments("score_model"),
    message:
        "Study: scoring {wildcards.variant}, seed {wildcards.seed}"
    script:
        "../../scripts/score_model.py"


rule plot_context_study:
    input:
        unpack(inputs("plot_context_study")),
    output:
        **outputs("plot_context_study"),
    log:
        "<logs>/study/plot_context_study.log",
    benchmark:
        "<benchmarks>/study/plot_context_study.tsv"
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("plot_context_study"),
    params:
        arguments=arguments("plot_context_study"),
    message:
        "Drawing the context study"
    script:
        "../../scripts/plot_context_study.py"


rule plot_feature_study:
    input:
        unpack(inputs("plot_feature_study")),
    output:
        **outputs("plot_feature_study"),
    log:
        "<logs>/study/plot_feature_study.log",
    benchmark:
        "<benchmarks>/study/plot_feature_study.tsv"
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("plot_feature_study"),
    params:
        arguments=arguments("plot_feature_study"),
    message:
        "Drawing the feature study"
    script:
        "../../scripts/plot_feature_study.py"
