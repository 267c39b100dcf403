"""What a project's folder gives to the image: code, models, func.yaml; and what must stay out."""
