from parafovea.config.model_recipes import weight_files
from parafovea.settings.recipe import BackboneSpec


def test_weights_in_a_folder_are_files_that_features_depend_on(tmp_path):
    for name in ("model.safetensors", "config.json", "README.md"):
        (tmp_path / name).write_text("")
    backbone = BackboneSpec(name="dinov3", arguments={"weights": str(tmp_path)})
    assert weight_files(backbone) == [
        str(tmp_path / "config.json"),
        str(tmp_path / "model.safetensors"),
    ]


def test_weights_of_the_hub_and_backbones_without_weights_have_no_files():
    assert weight_files(BackboneSpec(name="dinov3", arguments={"weights": "owner/name"})) == []
    assert weight_files(BackboneSpec()) == []
