"""The function by which OpenBLAS gives its work to the team.

OpenBLAS calls it with a job and how many there are of it: `job(k, data + k * size, flag)` is to run for every k at the
same time, since the jobs of one product wait for each other. So it is one thread of the team each. Its threads have
memory by their number: two callers at once would use the same, so one waits for the other.
"""

import ctypes
from functools import cache
from typing import Any

from .. import team
from .native import compiler

__all__ = ["join", "parallel"]

MODULE = """
%call = type { ptr, i64, ptr, i32 }
@one = internal global [64 x i8] zeroinitializer, align 16  ; a mutex: what PTHREAD_MUTEX_INITIALIZER is with glibc
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare void @GOMP_parallel(ptr, ptr, i32, i32)
declare i32 @omp_get_thread_num()

define internal void @member(ptr %call) {
  %job = load ptr, ptr %call
  %size.at = getelementptr %call, ptr %call, i32 0, i32 1
  %size = load i64, ptr %size.at
  %data.at = getelementptr %call, ptr %call, i32 0, i32 2
  %data = load ptr, ptr %data.at
  %flag.at = getelementptr %call, ptr %call, i32 0, i32 3
  %flag = load i32, ptr %flag.at
  %k = call i32 @omp_get_thread_num()
  %wide = sext i32 %k to i64
  %offset = mul i64 %wide, %size
  %mine = getelementptr i8, ptr %data, i64 %offset
  call void %job(i32 %k, ptr %mine, i32 %flag)
  ret void
}

define void @give(i32 %sync, ptr %job, i32 %count, i64 %size, ptr %data, i32 %flag) {
  %call = alloca %call
  store ptr %job, ptr %call
  %size.at = getelementptr %call, ptr %call, i32 0, i32 1
  store i64 %size, ptr %size.at
  %data.at = getelementptr %call, ptr %call, i32 0, i32 2
  store ptr %data, ptr %data.at
  %flag.at = getelementptr %call, ptr %call, i32 0, i32 3
  store i32 %flag, ptr %flag.at
  call i32 @pthread_mutex_lock(ptr @one)
  call void @GOMP_parallel(ptr @member, ptr %call, i32 %count, i32 0)
  call i32 @pthread_mutex_unlock(ptr @one)
  ret void
}
"""


@cache
def join() -> None:
    """Let OpenBLAS compute with the team from now on, where there are a team and a compiler."""
    llvm = compiler()
    if llvm is not None and team.gomp() is not None:
        team.join_blas(llvm.load(MODULE, "give"))


@cache
def parallel() -> Any:
    """Return `call(address, data, number, 0)`, which calls a C function with data in a number of threads."""
    join()  # or its threads spin where those of the team are to compute
    function = team.gomp().GOMP_parallel  # type: ignore[union-attr]  # nobody asks who has no team
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    return function
