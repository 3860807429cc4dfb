"""The numbers that presets and variants set: whole presets, and variants that change fields."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from shared.paper import Variant

from .labelling.selflabels import Labels
from .labelling.voting import Rule


@dataclass(frozen=True)
class Config:
    """One stage of one run. The paper's own values are unknown: these are of the public code it builds on, or ours."""

    data: str | None = None
    """Folder with recorded houses (see data.LAYOUT); None: generated apartments."""
    stage: Literal["web", "perception", "detector", "policy", "explorer"] = "perception"
    """web: the segmenter learns from labelled pictures; perception: it is fine-tuned in houses; detector: so is Mask
    R-CNN; policy: the potential network learns to navigate; explorer: a global policy learns by PPO."""
    style: Literal["sim", "real"] = "real"
    """Houses of the perception stage: real ones are those of the in-situ evaluation."""

    widths: tuple[int, ...] = (32, 64, 128, 256, 256)
    """Channels of the segmenter's levels."""
    resolution: int = 128
    """Pixels of a side of a frame."""
    web_houses: int = 24
    """Apartments whose objects are photographed for the web pictures."""
    web_views: int = 64
    """Pictures of each of them."""
    web_steps: int = 4_000
    web_rate: float = 2e-3
    """Learning rate of the web stage."""
    web_batch: int = 16
    """Pictures a step of the web stage, over all processes."""
    background_weight: float = 0.25
    """Weight of the background in the cross-entropy, of the classes' 1."""

    houses: int = 10
    """Houses that are explored, and as many others for the evaluation in unseen houses."""
    explore_steps: int = 600
    """Actions of an exploration."""
    frame_every: int = 2
    """Actions between two frames that are kept."""
    exploration: Literal["frontier", "random", "coverage", "curiosity"] = "frontier"
    """Policy that explores; coverage and curiosity are learned, and need a run that starts from an explorer."""
    revisit: bool = False
    """Walk half around the nearest object after every goal, for more views of it."""
    actuation_noise: float = 0.0
    """Standard deviation of a forward step in metres, and in tens of degrees of a turn."""
    pose_noise: float = 0.0
    """Standard deviation of the odometry's drift a step, in metres, and in tens of degrees."""
    voxel: float = 0.08
    """Metres of a voxel."""

    labels: Labels = "location"
    """Labels of the explored frames: each frame's own, by SEAL's rule, by location consistency, or the simulator's
    (truth), also with the faults of a scan's annotation (mesh)."""
    threshold: float = 0.4
    """Least probability of a self-label."""
    rule: Rule = "mean"
    """Vote over the views of a place."""
    least_views: int = 2
    """Frames that have to see a voxel before it gets a label."""
    contrastive: float = 0.0
    """Weight of the contrastive loss."""
    temperature: float = 0.1
    """tau of the contrastive loss."""
    roi_loss: Literal["supcon", "triplet"] = "supcon"
    """Contrastive loss of Mask R-CNN's RoIs: supervised contrastive, or the triplets of Look Around And Learn."""
    apart: float = 0.4
    """Metres between places that are negatives of each other."""
    exclude_same_label: bool = True
    """Leave out negatives of the same self-label."""
    matches: int = 96
    """Places a pair of frames, at most, in the contrastive loss."""
    least_angle: float = 15.0
    """Degrees between the viewing directions of a pair of frames, or half a metre between their places."""
    warm_up: int = 0
    """First steps of a round, which have the contrastive loss alone."""
    rounds: int = 1
    """Times that the frames are labelled and the network is fine-tuned."""
    steps: int = 1_000
    """Steps of a round."""
    rate: float = 3e-4
    """Learning rate of fine-tuning."""
    batch_size: int = 8
    """Pairs of frames a step of fine-tuning, over all processes."""
    least_coverage: float = 0.0
    """Least share of pixels with an object's label; with less a round leaves the network as it is."""

    coco: bool = True
    """Let Mask R-CNN begin with torchvision's COCO weights, which are downloaded."""

    policy: Literal["potential", "semexp", "frontier", "random"] = "potential"
    """Policy that navigates: PONI's potentials, SemExp's global policy, the nearest frontier, or random goals."""
    maps: Literal["self", "truth", "start"] = "self"
    """Maps that the potential network learns from: labelled by the agent itself, or the simulator's; start: none, it is
    that of the run that this one starts from."""
    policy_houses: int = 25
    """Simulated houses whose maps the potential network learns from."""
    partial_maps: int = 4_000
    """Partial maps an epoch; each is made anew."""
    policy_widths: tuple[int, ...] = (32, 64, 128, 256, 256)
    """Channels of the potential network's levels."""
    policy_steps: int = 10_000
    policy_rate: float = 1e-3
    """Learning rate of the potential network."""
    policy_batch: int = 20
    """Partial maps a step, over all processes."""
    explorer_updates: int = 1_000
    """PPO updates of a global policy."""
    explorer_goals: int = 20
    """Goals that it sets between two updates, in each of two houses."""
    explorer_rate: float = 2.5e-5
    """Learning rate of PPO."""
    reward: Literal["coverage", "curiosity", "goal"] = "curiosity"
    """Reward of PPO: square metres explored; cells with a class score of 0.9 or more; or SemExp's, square metres and
    metres nearer to a category on the self-labelled map."""

    cell: float = 0.05
    """Metres of a cell of the map."""
    map_cells: int = 224
    """Cells of a side of the map, a multiple of 16."""
    blob: int = 8
    """Least pixels of a class in a frame that the map takes in, against single false ones."""
    confidence: float = 0.8
    """Least probability of a class that the map takes in."""
    precision: Literal["no", "fp16", "bf16"] = "no"
    workers: int = 4
    save_every: int = 500

    held_out: int = 120
    """Frames of a house for the evaluation, at poses that were not explored."""
    perception: Literal["own", "truth"] = "own"
    """Segmenter of the navigation episodes: the run's own, or the simulator's truth."""
    nav_houses: Literal["unseen", "explored"] = "unseen"
    """Real houses of the navigation episodes: others, or those that the segmenter was fine-tuned in."""
    episodes: int = 200
    """Navigation episodes."""
    max_steps: int = 500
    """Actions of an episode."""
    metric: Literal["semexp", "habitat"] = "semexp"
    """Definition of success: to end within a metre of an object, or to stop there as well."""
    split: Literal["test", "validation"] = "test"
    """Houses that are evaluated; settings are chosen on validation (seeds 100 and up)."""


EVALUATION = ("held_out", "perception", "nav_houses", "episodes", "max_steps", "metric", "split")

CPU = Config(
    widths=(16, 32, 48, 64, 64),
    resolution=64,
    web_houses=24,
    web_views=32,
    web_steps=1_600,
    web_batch=8,
    houses=3,
    explore_steps=360,
    frame_every=2,
    steps=400,
    rate=1e-3,
    batch_size=4,
    policy_houses=8,
    partial_maps=240,
    policy_widths=(8, 16, 32, 32, 32),
    policy_steps=200,
    policy_rate=1e-2,
    policy_batch=4,
    explorer_updates=4,
    explorer_goals=4,
    cell=0.1,
    map_cells=112,
    workers=0,
    save_every=100,
    held_out=60,
    episodes=30,
    max_steps=150,
    least_coverage=0.01,
)
PRESETS = {
    "smoke": replace(
        CPU,
        widths=(8, 8, 8, 8, 8),
        resolution=32,
        web_houses=2,
        web_views=12,
        web_steps=40,
        houses=1,
        explore_steps=48,
        frame_every=5,
        steps=6,
        policy_houses=1,
        partial_maps=8,
        policy_widths=(4, 4, 4, 4, 4),
        policy_steps=6,
        policy_batch=4,
        explorer_updates=2,
        explorer_goals=2,
        save_every=2,
        held_out=8,
        episodes=2,
        max_steps=12,
        least_coverage=0.0,
    ),
    "cpu": CPU,
    "paper": Config(least_coverage=0.01),
}
SEEDS = {"smoke": (0, 1), "cpu": (0, 1, 2, 3, 4), "paper": (0, 1, 2)}


def _perception(labels: str, **changes: Any) -> dict[str, Any]:
    return {"stage": "perception", "labels": labels, **changes}


SELF_TRAINING = _perception("self-training", threshold=0.5)
SEAL = _perception("seal", threshold=0.7)
VOTING = _perception("location")
LOCCON = _perception("location", contrastive=0.03)
SIM = {"style": "sim"}
DETECTOR = {"stage": "detector", "resolution": 640, "contrastive": 0.1, "rate": 1e-4, "batch_size": 2}
NAVIGATION = {"stage": "policy"}
BEYOND_SMOKE = ("cpu", "paper")  # rows that add no code to the smoke preset
NOT_CPU = ("smoke", "paper")  # rows that would take the cpu preset too long

VARIANTS = {
    "frozen": Variant("the segmenter of the web pictures, as it is", {"stage": "web"}, headline=True),
    # Claim 1: fine-tuned in real houses, without their labels.
    "self-training": Variant("in situ: each frame's own labels", SELF_TRAINING, start="frozen", headline=True),
    "seal": Variant("in situ: labels by SEAL's rule", SEAL, start="frozen", headline=True),
    "voting": Variant("in situ: labels by a vote over views", VOTING, BEYOND_SMOKE, start="frozen"),
    "contrastive": Variant(
        "in situ: each frame's own labels and the contrastive loss",
        SELF_TRAINING | {"contrastive": 0.03},
        BEYOND_SMOKE,
        start="frozen",
    ),
    "loccon": Variant("in situ: vote and contrastive loss (LocCon)", LOCCON, start="frozen", headline=True),
    "loccon-revisit": Variant(
        "LocCon, walking half around objects", LOCCON | {"revisit": True}, BEYOND_SMOKE, start="frozen"
    ),
    "loccon-rounds": Variant(
        "LocCon in two rounds, each of half the steps",
        LOCCON | {"rounds": 2, "steps": 200},
        ("cpu",),
        start="frozen",
    ),
    "supervised": Variant(
        "in situ: the simulator's labels", _perception("truth"), BEYOND_SMOKE, start="frozen", headline=True
    ),
    # Claims 2 and 3: trained in simulated houses alone.
    "sim-seal": Variant("simulated houses: SEAL's rule", SEAL | SIM, BEYOND_SMOKE, start="frozen"),
    "sim-loccon": Variant("simulated houses: LocCon", LOCCON | SIM, start="frozen"),
    "sim-supervised": Variant(
        "simulated houses: the simulator's labels", _perception("truth") | SIM, BEYOND_SMOKE, start="frozen"
    ),
    "sim-mesh": Variant(
        "simulated houses: labels of a faulty mesh", _perception("mesh") | SIM, start="frozen"
    ),
    # Claim 4: those, fine-tuned in real houses by LocCon.
    "sim-seal-in-situ": Variant("SEAL in simulation, then LocCon in situ", LOCCON, BEYOND_SMOKE, start="sim-seal"),
    "sim-loccon-in-situ": Variant("LocCon in simulation, then in situ", LOCCON, BEYOND_SMOKE, start="sim-loccon"),
    "sim-supervised-in-situ": Variant(
        "labels in simulation, then LocCon in situ", LOCCON, BEYOND_SMOKE, start="sim-supervised"
    ),
    "sim-mesh-in-situ": Variant("mesh labels in simulation, then LocCon in situ", LOCCON, start="sim-mesh"),
    "maskrcnn-voting": Variant(
        "Mask R-CNN in situ: vote over views", DETECTOR | {"contrastive": 0.0}, ("paper",)
    ),
    "maskrcnn-loccon": Variant("Mask R-CNN in situ: vote and contrastive loss", DETECTOR, ("paper",)),
    # Exploration that is learned.
    "explorer-coverage": Variant(
        "explorer rewarded for area", {"stage": "explorer", "reward": "coverage"}, NOT_CPU, start="frozen"
    ),
    "explorer-curiosity": Variant(
        "explorer rewarded for confident cells", {"stage": "explorer", "reward": "curiosity"}, NOT_CPU, start="frozen"
    ),
    "loccon-curiosity": Variant(
        "LocCon on frames of the curious explorer", LOCCON | {"exploration": "curiosity"}, NOT_CPU,
        start="explorer-curiosity",
    ),
    # Claim 5: navigation.
    "nav-random": Variant(
        "navigation: random goals", NAVIGATION | {"policy": "random"}, BEYOND_SMOKE, start="sim-loccon"
    ),
    "nav-frontier": Variant(
        "navigation: nearest frontier", NAVIGATION | {"policy": "frontier"}, start="sim-loccon", headline=True
    ),
    "explorer-goal": Variant(
        "SemExp's policy, rewarded on self-labelled maps", {"stage": "explorer", "reward": "goal"}, NOT_CPU,
        start="sim-loccon",
    ),
    "nav-semexp": Variant(
        "navigation: SemExp's policy", NAVIGATION | {"policy": "semexp", "reward": "goal"}, NOT_CPU,
        start="explorer-goal",
    ),
    "nav-truth-maps": Variant(
        "navigation: potentials from true maps", NAVIGATION | {"maps": "truth"}, BEYOND_SMOKE,
        start="sim-loccon", headline=True,
    ),
    "nav-truth-perception": Variant(
        "navigation: self-labelled maps, true perception", NAVIGATION | {"maps": "start", "perception": "truth"},
        start="selfnav", headline=True,
    ),
    "nav-frozen": Variant("navigation: the frozen segmenter for maps and perception", NAVIGATION, BEYOND_SMOKE,
        start="frozen",
    ),
    "nav-in-situ": Variant(
        "navigation in explored houses, LocCon in situ", NAVIGATION | {"nav_houses": "explored"}, BEYOND_SMOKE,
        start="sim-loccon-in-situ",
    ),
    "nav-not-in-situ": Variant(
        "navigation in the same houses, LocCon in simulation alone",
        NAVIGATION | {"maps": "start", "nav_houses": "explored"}, BEYOND_SMOKE, start="selfnav",
    ),
    "selfnav": Variant("navigation: self-labelled maps, LocCon", NAVIGATION, start="sim-loccon", headline=True),
}  # fmt: skip
