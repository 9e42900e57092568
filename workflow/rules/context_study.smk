# What context is worth: models that differ in their context alone, trained and scored alike.
# The target is `figures`; config/study.yaml says what is compared.


wildcard_constraints:
    phantom=r"[a-z]+_seed\d+",
    ratio=r"\d+",
    variant=r"[a-z]+\d*",


use rule resample_volume as resample_study_volume with:
    input:
        source="<results>/phantoms/{phantom}.ome.zarr",
        metadata=[],
    output:
        volume=directory("<results>/study/{phantom}/volume.ome.zarr"),
    log:
        "<logs>/study/{phantom}/resample_volume.log",
    benchmark:
        "<benchmarks>/study/{phantom}/resample_volume.tsv"
    params:
        source=lambda wildcards, input: input.source,
        metadata="",
        spacing=STUDY.training.recipe.spacing,
        unit=STUDY.training.recipe.unit,
        normalization=STUDY.training.recipe.normalization.model_dump(mode="json"),
        nonfinite="error",
        bands=STUDY.training.recipe.bands,
        kind=STUDY.training.recipe.kind,
        find_body=False,
        code=fingerprint("resample_volume"),
    message:
        "Study: resampling and normalizing {wildcards.phantom}"


use rule extract_features as extract_study_features with:
    input:
        volume="<results>/study/{phantom}/volume.ome.zarr",
        backbone=weight_files(STUDY.training.recipe.backbone),
    output:
        features=intermediate("<results>/study/{phantom}/features.zarr"),
    log:
        "<logs>/study/{phantom}/extract_features.log",
    cache: CACHED
    params:
        spacing=STUDY.training.recipe.spacing,
        backbone=STUDY.training.recipe.backbone.model_dump(mode="json"),
        dimensions=STUDY.training.recipe.network.dimensions,
        concentric_window=None,
        augmentation="",
        code=fingerprint("extract_features"),
    message:
        "Study: extracting local features of {wildcards.phantom}"


use rule extract_study_features as extract_study_context with:
    input:
        volume="<results>/study/{phantom}/volume.ome.zarr",
        backbone=weight_files(STUDY.training.recipe.context.backbone),
    output:
        features=intermediate("<results>/study/{phantom}/context_{ratio}.zarr"),
    log:
        "<logs>/study/{phantom}/extract_context_{ratio}.log",
    cache: CACHED
    params:
        spacing=lambda wildcards: STUDY.context_spacing(int(wildcards.ratio)),
        backbone=STUDY.training.recipe.context.backbone.model_dump(mode="json"),
        dimensions=STUDY.training.recipe.network.dimensions,
        concentric_window=STUDY.concentric_window,
        augmentation="",
        code=fingerprint("extract_features"),
    message:
        "Study: extracting context features of {wildcards.phantom}, {wildcards.ratio} times coarser"


use rule train_model as train_study_model with:
    input:
        volumes=studied("training.volumes"),
        features=studied("training.features"),
        contexts=studied("training.contexts"),
        truths=studied("training.truths"),
    output:
        model=directory("<results>/study/models/{variant}_seed{seed}"),
    log:
        "<logs>/study/train_{variant}_seed{seed}.log",
    benchmark:
        "<benchmarks>/study/train_{variant}_seed{seed}.tsv"
    params:
        name="{variant}_seed{seed}",
        samples=studied("training.samples"),
        settings=studied("settings"),
        checkpoints=f"{PROJECT.settings.results}/training/study_{{variant}}_seed{{seed}}",
        code=fingerprint("train_model"),
    message:
        "Study: training {wildcards.variant}, seed {wildcards.seed}"


rule score_model:
    input:
        model="<results>/study/models/{variant}_seed{seed}",
        volumes=studied("test.volumes"),
        features=studied("test.features"),
        contexts=studied("test.contexts"),
        truths=studied("test.truths"),
    output:
        scores="<results>/study/scores/{variant}_seed{seed}.tsv",
    log:
        "<logs>/study/score_{variant}_seed{seed}.log",
    benchmark:
        "<benchmarks>/study/score_{variant}_seed{seed}.tsv"
    conda:
        "../../envs/parafovea.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=memory("score_model"),
        runtime=minutes("score_model"),
    params:
        samples=studied("test.samples"),
        facts=studied("facts"),
        code=fingerprint("score_model"),
    message:
        "Study: scoring {wildcards.variant}, seed {wildcards.seed}"
    script:
        "../../scripts/score_model.py"


rule plot_context_study:
    input:
        scores=expand(
            "<results>/study/scores/{variant}_seed{seed}.tsv",
            variant=STUDY.variants,
            seed=STUDY.seeds,
        ),
    output:
        table=report(
            "<results>/figures/context_study.tsv",
            caption="../report/context_study.rst",
            category="Figures",
            labels={"content": "context study, means and spread"},
        ),
        figures=report(
            multiext("<results>/figures/context_study", ".svg", ".pdf", ".png"),
            caption="../report/context_study.rst",
            category="Figures",
            labels={"content": "context study"},
        ),
    log:
        "<logs>/study/plot_context_study.log",
    benchmark:
        "<benchmarks>/study/plot_context_study.tsv"
    conda:
        "../../envs/parafovea.yaml"
    resources:
        mem_mb=memory("plot_context_study"),
        runtime=minutes("plot_context_study"),
    params:
        ratio=STUDY.ratio,
        code=fingerprint("plot_context_study"),
    message:
        "Drawing the context study"
    script:
        "../../scripts/plot_context_study.py"


rule figures:
    input:
        rules.plot_context_study.output,
