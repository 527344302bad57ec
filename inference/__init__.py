"""Prediction: input contract, network, bundle, ONNX Runtime engine, calibration, abstention."""
