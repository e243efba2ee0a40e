"""Machine code of many small functions at once. Whatever is not public in Numba is used in this file only.

Numba makes machine code of every function, and links it with all that it calls into each caller, which is optimised
as a whole again: with hundreds of small functions that is most of the time to compile. Here a function is typed and
lowered by itself. What comes out is a *part*: intermediate code that nobody has optimised, and the parts that it calls.
Where something is to be called, `machine_code` links the parts that are reached from there, each once, and optimises
them together. Parts are kept as well as machine code, so that an edit costs what it touches.

`tests/base/test_parts.py` fails if a release of Numba does any of this in another way.
"""

import pickle
from collections.abc import Callable, Iterable, Sequence
from types import CodeType, SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import sigutils, typed_passes, types, typing, untyped_passes
from numba.core.bytecode import FunctionIdentity
from numba.core.callconv import create_error_model
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompileResult, compile_result
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager, _pass_registry
from numba.core.environment import lookup_environment
from numba.core.imputils import lower_constant
from numba.core.registry import CPUDispatcher, cpu_target
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.core.transforms import canonicalize_cfg
from numba.extending import models, register_model

from vcpu_env.base.code_cache import keep_code, kept_code, version_name

ENVIRONMENT = "_ZN08NumbaEnv"
"""How the names of variables begin that point to a function's Python objects."""

EMBEDDED = "numba.dynamic.globals"
"""How the names of variables begin that hold an address in this process: such code is not kept."""

SCALARS = (types.Integer, types.Boolean)

PASSES = (
    *(untyped_passes.TranslateByteCode, untyped_passes.FixupArgs, untyped_passes.IRProcessing),
    *(untyped_passes.DeadBranchPrune, untyped_passes.GenericRewrites, untyped_passes.RewriteDynamicRaises),
    *(untyped_passes.ReconstructSSA, typed_passes.NopythonTypeInference, typed_passes.PreLowerStripPhis),
    *(typed_passes.IRLegalization, typed_passes.NativeLowering, typed_passes.NoPythonBackend),
)
"""What is done to a function of integers, in order. Numba's other passes are for what such a function does not have."""

_versions: dict[str, CompileResult] = {}
"""The parts of this process, by their names."""


class Part(JITCodeLibrary):
    """The intermediate code of one function: for Numba, a library that is linked into those of its callers."""

    _shared_module: Any
    provide: ClassVar[Callable[[Iterable[str]], None]]
    """Makes entry points callable by their symbols."""

    @property
    def has_dynamic_globals(self) -> bool:
        """Whether it holds an address in this process."""
        return any(variable.name.startswith(EMBEDDED) for variable in self._final_module.global_variables)

    def add_linking_library(self, library: Any) -> None:
        """Take what it calls. The runtime, which Numba adds to everything, waits for `add_ir_module`."""
        if library is not rtsys.library:
            super().add_linking_library(library)

    def add_ir_module(self, ir_module: ir.Module) -> None:
        """Take its code, without the pointer to Python objects if it uses none."""
        text = str(ir_module)
        if "NRT_" in text:
            self._linking_libraries.append(rtsys.library)
        lines = text.split("\n")
        environments = [line for line in lines if line.lstrip('@"').startswith(ENVIRONMENT)]
        unused = [line for line in environments if text.count(line.split(" ")[0]) == 1]
        self._final_module = llvm.parse_assembly("\n".join(line for line in lines if line not in unused))
        self._final_module.data_layout = self._codegen._data_layout

    def finalize(self) -> None:
        """Nothing more will be added."""
        self._finalized = True

    def _get_module_for_linking(self) -> llvm.ModuleRef:
        """All that is reached from here, for a caller that Numba compiles itself."""
        if self._shared_module is None:
            self._shared_module = link([], [self])
            for function in defined(self._shared_module):
                function.linkage = "linkonce_odr"
        Part.provide(declared(self._shared_module))
        return self._shared_module


class Remembering:
    """Numba's typing context, which remembers what a function or an operator of integers means. Numba asks all that it
    has for an operator, each time.
    """

    known: ClassVar[dict[Any, tuple[Any, Any]]] = {}

    def __init__(self, context: Any):
        self.context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self.context, name)

    def resolve_function_type(self, func: Any, args: tuple[types.Type, ...], kws: Any) -> Any:
        """The signature of a call."""
        if kws or not isinstance(func, types.Function) or not all(isinstance(kind, SCALARS) for kind in args):
            return self.context.resolve_function_type(func, args, kws)
        key = id(func), args
        if key not in self.known:
            self.known[key] = func, self.context.resolve_function_type(func, args, kws)
        return self.known[key][1]


class Passes(PassManager):
    """A pipeline that does not describe each pass to observers that nobody has, and looks for the lifetimes of
    variables only where they are used: `IRLegalization` does that before code is made.
    """

    def _runPass(self, index: int, pss: Any, internal_state: Any) -> None:  # noqa: N802
        pss.analysis = self._analysis
        pss.run_initialization(internal_state)
        pss.run_pass(internal_state)
        pss.run_finalizer(internal_state)
        if _pass_registry.get(type(pss)).mutates_CFG:
            internal_state.func_ir.blocks = canonicalize_cfg(internal_state.func_ir.blocks)


class PartCompiler(Compiler):
    """Numba's compiler, up to intermediate code, with names that are the same in every process."""

    def define_pipelines(self) -> list[PassManager]:
        """Of a function of integers without functions in it, only the passes that do anything to one."""
        state = self.state
        nested = any(isinstance(constant, CodeType) for constant in state.func_id.code.co_consts)
        if nested or not all(isinstance(kind, SCALARS) for kind in state.args):
            return super().define_pipelines()  # type: ignore[no-any-return]
        passes = Passes("part")
        for one in PASSES:
            passes.add_pass(one)
        passes.finalize()
        return [passes]

    def compile_extra(self, func: Any) -> CompileResult:
        """Compile a function to a part."""
        state = self.state
        state.typingctx = Remembering(state.typingctx)
        name = version_name(func, "part", state.args)
        state.flags.no_compile = state.flags.no_cpython_wrapper = state.flags.no_cfunc_wrapper = True
        state.library = Part(state.targetctx.codegen(), name)
        state.func_id = FunctionIdentity.from_function(func)
        state.func_id.unique_id = name.rpartition("-")[2]
        untyped_passes.ExtractByteCode().run_pass(state)
        state.lifted, state.lifted_from = (), None
        return self._compile_bytecode()


class MachineFunctionType(types.Dispatcher):
    """The type of a function of the machine."""


register_model(MachineFunctionType)(models.OpaqueModel)


@lower_constant(MachineFunctionType)
def no_address(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """The value of a variable that stands for a function. Numba has its address in this process."""
    return context.get_dummy_value()


class MachineFunction(CPUDispatcher):
    """A function of the machine: a part where compiled code calls it, machine code of its own where Python does."""

    def __init__(self, py_func: Any, locals: Any = None, targetoptions: Any = None):
        super().__init__(py_func, locals, targetoptions, PartCompiler)
        self._type = MachineFunctionType(self)
        self.typingctx._remove_global(self)
        self.typingctx.insert_global(self, self._type)
        self._parts: dict[tuple[types.Type, ...], CompileResult] = {}

    @property
    def _numba_type_(self) -> MachineFunctionType:
        return MachineFunctionType(self)

    def part(self, args: tuple[types.Type, ...]) -> CompileResult:
        """The part for arguments of these types."""
        if args not in self._parts:
            with global_compiler_lock, self._compiling_counter:
                version = load_part(version_name(self.py_func, "part", args))
                if version is None:
                    version = add_part(self._compiler.compile(args, None))
                    keep_part(version)
                self._parts[args] = version
        return self._parts[args]

    def get_call_template(self, args: Sequence[types.Type], kws: Any) -> Any:
        """What a call in compiled code means. A constant argument makes no version of its own, as Numba would have
        it for every constant: that alone more than doubles the time to compile the kernel.
        """
        plain = {name: types.misc.unliteral(kind) for name, kind in dict(kws).items()}
        pysig, args = self._compiler.fold_argument_types(tuple(map(types.misc.unliteral, args)), plain)
        self.part(tuple(args))
        name, signatures = self.py_func.__name__, [version.signature for version in self._parts.values()]
        return typing.make_concrete_template(name, key=name, signatures=signatures), pysig, args, {}

    def get_overload(self, sig: Any) -> Any:
        """By what compiled code calls the part of a signature."""
        return self.part(tuple(sigutils.normalize_signature(sig)[0])).entry_point

    def compile(self, sig: Any) -> Any:
        """What Python calls for arguments of these types."""
        with global_compiler_lock:
            args = tuple(sigutils.normalize_signature(sig)[0])
            if args not in self.overloads:
                self.targetctx.refresh()
                name = version_name(self.py_func, "python", args)
                body = kept_code(name)
                self._cache_misses[args] += body is None
                self._cache_hits[args] += body is not None
                made = pickle.loads(body) if body else self.made_for_python(args, name)
                self.add_overload(executable(*made))
            return self.overloads[args].entry_point

    def made_for_python(self, args: tuple[types.Type, ...], name: str) -> tuple["MachineCode", CompileResult]:
        """Machine code that Python can call."""
        version = self.part(args)
        context = self.targetctx.subtarget(
            enable_nrt=True, error_model=create_error_model(self.targetoptions["error_model"], self.targetctx)
        )
        around: list[ir.Module] = []
        taker = SimpleNamespace(add_ir_module=around.append)
        context.create_cpython_wrapper(taker, version.fndesc, version.environment, None, release_gil=True)
        made = machine_code(around, [version.library]), portable(version)
        if made[0].portable:
            keep_code(name, dumps(made))
        return made


def codegen() -> Any:
    """Numba's code generator."""
    return cpu_target.target_context.codegen()


def add_part(compiled: CompileResult) -> CompileResult:
    """Let a part be called."""
    version = compiled._replace(entry_point=compiled.library)
    cpu_target.target_context.insert_user_function(version.entry_point, version.fndesc, [version.library])
    _versions[version.library.name] = version
    return version


def portable(version: CompileResult) -> CompileResult:
    """A version as it is kept, without its code."""
    version.fndesc.typemap = version.fndesc.calltypes = None
    return compile_result(signature=version.signature, fndesc=version.fndesc, environment=version.environment)


def keep_part(version: CompileResult) -> None:
    """Keep a part: its code, the names of the parts that it calls, and what else it calls."""
    part = version.library
    if part.has_dynamic_globals:
        return
    below = [library.name for library in part._linking_libraries if isinstance(library, Part)]
    others = [library._get_module_for_linking().as_bitcode()
              for library in part._linking_libraries if not isinstance(library, Part)]  # fmt: skip
    code = part._final_module.as_bitcode()
    keep_code(part.name, dumps((portable(version), code, below, others, version.reload_init)))


def load_part(name: str) -> CompileResult | None:
    """A part that is there or kept, with all that it calls; None if there is none that is whole."""
    if name in _versions:
        return _versions[name]
    body = kept_code(name)
    if body is None:
        return None
    version, code, below, others, reload_init = pickle.loads(body)
    called = [load_part(other) for other in below]
    if None in called:
        return None
    for begin in reload_init:
        begin()
    part = Part(codegen(), name)
    part._final_module = llvm.parse_bitcode(code)
    part._linking_libraries += [other.library for other in called if other]
    modules = map(llvm.parse_bitcode, others)
    part._linking_libraries += [SimpleNamespace(_get_module_for_linking=module.clone) for module in modules]
    part.finalize()
    return add_part(version._replace(library=part, reload_init=reload_init))


def reached(libraries: Sequence[Any]) -> list[Any]:
    """These libraries and all that are reached from them, each once."""
    found = {id(library): library for library in libraries}
    ahead = list(libraries)
    while ahead:
        library = ahead.pop()
        below = library._linking_libraries if isinstance(library, Part) else []
        new = {id(other): other for other in below if id(other) not in found}
        found |= new
        ahead += new.values()
    return list(found.values())


def defined(module: llvm.ModuleRef) -> list[llvm.ValueRef]:
    """The functions that a module has for others."""
    return [f for f in module.functions if not f.is_declaration and f.linkage == llvm.Linkage.external]


def declared(module: llvm.ModuleRef) -> list[str]:
    """The symbols of functions that a module calls and has not."""
    return [function.name for function in module.functions if function.is_declaration]


def link(modules: Sequence[llvm.ModuleRef], libraries: Sequence[Any]) -> llvm.ModuleRef:
    """One module of these modules and all that is reached from the libraries."""
    whole = llvm.parse_assembly(str(codegen()._create_empty_module("linked")))
    for module in modules:
        whole.link_in(module, preserve=True)
    for library in reached(libraries):
        part = library._final_module if isinstance(library, Part) else library._get_module_for_linking()
        whole.link_in(part, preserve=True)
    return whole


class MachineCode(NamedTuple):
    """An object file, what it calls by symbol, Python objects of its functions, whether other processes may use it."""

    code: bytes
    needs: list[str]
    environments: list[Any]
    portable: bool


def machine_code(around: Sequence[ir.Module], parts: Sequence[Part]) -> MachineCode:
    """What the functions of these modules become, with all parts that are reached, optimised together."""
    modules = [llvm.parse_assembly(str(module)) for module in around]
    whole, exported = link(modules, parts), {function.name for module in modules for function in defined(module)}
    for function in defined(whole):
        if function.name not in exported:  # no symbol at all: the loader would also give a local one to other objects
            function.linkage = "private"
    passes, builder = codegen()._module_pass_manager()
    passes.run(whole, builder)
    names = [variable.name for variable in whole.global_variables]
    found = [lookup_environment(name) for name in names if name.startswith(ENVIRONMENT)]
    environments = [environment for environment in found if environment is not None and environment.can_cache()]
    own = any(name.startswith(EMBEDDED) for name in names)
    return MachineCode(codegen()._tm.emit_object(whole), declared(whole), environments, not own)


def load(made: MachineCode) -> None:
    """Make machine code callable, and before it the entry points that it calls."""
    Part.provide(made.needs)
    engine = codegen()._engine
    engine._ee.add_object_file(llvm.ObjectFileRef.from_data(made.code))
    engine.finalize_object()
    for environment in made.environments:
        codegen().set_env(environment.env_name, environment)


def address_of(symbol: str) -> int:
    """Where a function is that has been loaded."""
    return int(codegen()._engine.get_function_address(symbol))


def executable(made: MachineCode, version: CompileResult) -> CompileResult:
    """Load machine code that Python can call."""
    load(made)
    context = cpu_target.target_context
    loaded = SimpleNamespace(codegen=codegen(), get_pointer_to_function=address_of)
    entry = context.get_executable(loaded, version.fndesc, version.environment)
    return version._replace(entry_point=entry, objectmode=False, target_context=context)


def by_symbol(version: CompileResult, symbol: str) -> ir.Module:
    """A C function of this name around a part. An exception that leaves it is printed, and the result is 0."""
    context, fndesc = cpu_target.target_context, version.fndesc
    module = context.create_module(symbol)
    inner_type = context.call_conv.get_function_type(fndesc.restype, fndesc.argtypes)
    inner = ir.Function(module, inner_type, fndesc.llvm_func_name)
    result_type, *arg_types = map(context.get_value_type, (fndesc.restype, *fndesc.argtypes))
    outer = ir.Function(module, ir.FunctionType(result_type, arg_types), symbol)
    builder = ir.IRBuilder(outer.append_basic_block("entry"))
    status, result = context.call_conv.call_function(builder, inner, fndesc.restype, fndesc.argtypes, outer.args)
    with builder.if_then(status.is_error, likely=False):
        python = context.get_python_api(builder)
        lock = python.gil_ensure()
        context.call_conv.raise_error(builder, python, status)
        name = python.string_from_string(context.insert_const_string(module, symbol))
        python.err_write_unraisable(name)
        python.decref(name)
        python.gil_release(lock)
    builder.ret(result)
    return module
