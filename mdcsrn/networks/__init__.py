"""Networks: generators, critics, and a catalogue that rebuilds them from plain values (torch alone)."""

from mdcsrn.networks.catalog import architecture, build_network
from mdcsrn.networks.critic import Critic
from mdcsrn.networks.edsr import EDSR
from mdcsrn.networks.interpolation import CubicUpsample
from mdcsrn.networks.legacy_checkpoint import map_published_state
from mdcsrn.networks.mdcsrn import MDCSRN
from mdcsrn.networks.planewise import PlaneWise
from mdcsrn.networks.restore import publish_weights, warm_start
from mdcsrn.networks.srgan import SRGANDiscriminator, SRGANGenerator
from mdcsrn.networks.srrescycgan import CycleGeneratorHR, CycleGeneratorLR
from mdcsrn.networks.srrescycgan_critics import CycleDiscriminatorHR, CycleDiscriminatorLR
from mdcsrn.networks.srresdnet import SRResDNet
from mdcsrn.networks.traits import Restorer, Traits, traits_of
from mdcsrn.networks.wdsr import WDSR
from mdcsrn.networks.weight_norm import fold_weight_norm
from mdcsrn.networks.weights import load_generator, load_network, load_weights, save_weights
from mdcsrn.networks.widen import widened

__all__ = [
    "EDSR",
    "MDCSRN",
    "WDSR",
    "Critic",
    "CubicUpsample",
    "CycleDiscriminatorHR",
    "CycleDiscriminatorLR",
    "CycleGeneratorHR",
    "CycleGeneratorLR",
    "PlaneWise",
    "Restorer",
    "SRGANDiscriminator",
    "SRGANGenerator",
    "SRResDNet",
    "Traits",
    "architecture",
    "build_network",
    "fold_weight_norm",
    "load_generator",
    "load_network",
    "load_weights",
    "map_published_state",
    "save_weights",
    "publish_weights",
    "traits_of",
    "warm_start",
    "widened",
]
