"""The functions of the nodule inference guide; `parafovea.compat` names them."""
