from starlette.staticfiles import StaticFiles
def error_page(request, problem): return str(problem)
