"""The known realtime models. Other ids pass as they are.

python examples/list_models.py
"""

from meshapi_rt import MODELS

for model in MODELS:
    print(f"{model.name:24} {model}")
print("a member is a plain string:", isinstance(MODELS.GPT_REALTIME_MINI, str))
