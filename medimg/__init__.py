"""Medical imaging from archive to Examples and evidence; free of TFX, Beam and Kubeflow."""
