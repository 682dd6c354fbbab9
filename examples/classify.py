"""Classify one image: the smallest whole program. usage: classify.py IMAGE"""
import sys

import lepton_ai_api

client = lepton_ai_api.Client("your_api_key")  # stands for the key that `fgpu up` saved; or give one here
task_id = client.submit_task({"task_type": "image_classification", "model_name": "efficientnet_lite0",
                              "input_data": sys.argv[1]})
result = client.get_task_result(task_id)  # waits; a failed task raises with reason, hint and last log lines
for label in result["labels"]:
    print(f"{label['probability']:7.2%}  {label['label']}")
