"""What tests of compiled networks share."""

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from graft.settings.pooling import pool_tensor


def run_compiled(flatbuffer, values):
    interpreter = Interpreter(model_content=flatbuffer, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]


def relative_distance(values, reference):
    return np.linalg.norm(values - reference) / np.linalg.norm(reference)


def pooled(model, pooling="avg"):
    """Return the model with a pooling behind it."""
    return keras.Model(model.input, pool_tensor(model.output, pooling))
